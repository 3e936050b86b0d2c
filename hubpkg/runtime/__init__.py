"""The only code that imports MindSpore and scikit-learn: data, training, inference, timing, the environment."""
