"""What steering does to a language model's texts: what is measured, on which texts, taken up where it stopped."""
