"""A model, or the training of one, on machines that are rented."""
