"""`rushlight demo`: a small convolutional network learns to read real handwritten digits."""
