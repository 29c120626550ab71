"""What cells share: approximators of gates, and the recurrences that they are the gates of."""
