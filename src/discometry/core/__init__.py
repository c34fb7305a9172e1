"""What everything else speaks of; numpy and the standard library only."""
