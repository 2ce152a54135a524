"""The forward process, the training loss and the likelihood bound."""
