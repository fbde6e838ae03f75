"""Planted errors: wrong gradients, wrong values and wrong systems, which the tests must catch."""
