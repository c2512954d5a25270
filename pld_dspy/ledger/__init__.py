"""What a run keeps: answers, usage, time, and tracking."""
