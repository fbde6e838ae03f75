"""Tests of several processes, and what stands in for them."""
