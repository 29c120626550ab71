"""What is learned, in plain PyTorch: the page where the equations are read. Shapes are in docs/shapes.md."""
