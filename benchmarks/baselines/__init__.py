"""What a user would pick instead of steering, each as a technique of a sweep; the package imports none of it."""
