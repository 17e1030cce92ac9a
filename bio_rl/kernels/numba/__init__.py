"""The kernels for the CPU, compiled with Numba: each file is the fused form of the kernel of its
name.
"""
