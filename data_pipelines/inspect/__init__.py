"""What a dataset holds, looked at before anything is trained on it."""
