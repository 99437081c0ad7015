"""The compiled kernels for CPUs, and the parts that call them. Optional: without a compiler the pure parts compute."""
