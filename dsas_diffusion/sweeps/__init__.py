"""Comparing techniques that keep a concept out of pictures: drawn over strengths, judged beside twins, reported."""
