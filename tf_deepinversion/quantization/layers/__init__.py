"""The layers of a network, their kernels and which layer reads which."""
