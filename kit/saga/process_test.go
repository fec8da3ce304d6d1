package saga

func worker() bool { return false }
