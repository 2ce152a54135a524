"""The denoiser: oscillator mixers, log-window attention, feed-forward."""
