"""What circuits can express and learn, measured on random angles."""
