"""The measures: of models, and of gradients."""
