"""The words by which options say how and where towers compute; it imports nothing, for the check of a config."""

PRECISIONS = ("auto", "bf16", "float32")
DEVICES = ("auto", "cpu", "cuda")
MOST_THREADS = 1024
