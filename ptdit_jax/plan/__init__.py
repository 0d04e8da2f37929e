"""What a training step needs of machines that need not be there, from their compiler."""
