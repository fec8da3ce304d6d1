package kafka_test

func runChild() {}
