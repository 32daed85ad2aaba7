"""What a run did and took, as one HTML file."""
