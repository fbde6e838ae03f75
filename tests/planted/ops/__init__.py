"""Errors planted in the ops and derivations: by hand, and from their source."""
