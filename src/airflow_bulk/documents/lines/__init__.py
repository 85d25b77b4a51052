"""What a line may be on each platform, and how lines are checked."""
