"""From a trained supernet to an architecture, one idea a file."""
