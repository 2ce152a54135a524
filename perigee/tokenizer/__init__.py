"""Words, the vocabulary, prime and residue codes, and windows of word ids."""
