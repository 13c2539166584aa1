"""What each verb is called, takes, and says of itself; what it does is imported when it is run."""
