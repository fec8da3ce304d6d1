// Package kafka runs an Apache Kafka node for tests, from its published jars, which build/kafka fetches: on free ports of
// the loopback interface, and so that a test can kill it, freeze it and start it again under whatever talks to it.
//
//	s := kafka.Start(t)
//	client, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers()...))
//
// Where KAFKA_BROKERS names brokers, Start returns those. They belong to somebody else: Own tells whether the test may kill
// and freeze the server, and topics and groups need names of their own.
//
// No server outlives the test binary, however that ends: each has a shell as its parent that reads from a pipe to the
// binary, and when the pipe ends, kills the server and removes its data.
//
// Without KAFKA_BROKERS, jars or Java a test is skipped, and fails where CI is set in the environment; both say how to get
// them.
//
// The methods of a Server are for one goroutine at a time.
package kafka
