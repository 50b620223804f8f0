"""What people hear: a blind rating page, and the weighted average score (WAS) of the ratings that come back."""
