"""Text: corpora of numbered words, and the windows in which a language model reads them."""
