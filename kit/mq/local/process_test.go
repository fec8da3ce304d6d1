package local_test

func runChild() {}
