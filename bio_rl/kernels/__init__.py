"""Kernels: loops over ticks and synapses in one pass over memory.

Each file defines one kernel: what it computes, its reference in torch, and the checks of its
arguments. The reference defines the truth; every other backend is checked against it, gradients
included. Fused forms lie in a folder for each backend, in a file of the kernel's name:

    unroll          the time loop of a neuron, forward and backward         numba, triton
    cells           the answer of a population code's cells                 numba; triton for its
                                                                            time loop
    lsnn            the ticks of recurrent adaptive neurons                 numba
    eprop           e-prop's traces over a decision                         numba
    plastic         one step of plastic synapses                            numba, triton
    td              the prediction error of a decision                      numba
    perceptron      linear layers as one step of automatic differentiation  torch alone

`backends.pick` chooses among them for all kernels.
"""
