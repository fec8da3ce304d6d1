// Package orca reads what upstreams say of their load in their answers, in the form of Open Request Cost Aggregation
// (xds.data.orca.v3.OrcaLoadReport). It knows nothing of what follows from it.
//
// A report is in the header section of an answer, or in its trailers, in one of two fields:
//
//	endpoint-load-metrics: TEXT cpu_utilization=0.3,mem_utilization=0.8,named_metrics.queue=4
//	endpoint-load-metrics: JSON {"cpu_utilization": 0.3, "mem_utilization": 0.8, "named_metrics": {"queue": 4}}
//	endpoint-load-metrics: BIN CTMzMzMzM9M/
//	endpoint-load-metrics-bin: CTMzMzMzM9M/
//
// The last two are the message of Protocol Buffers in base64, which is what servers of gRPC send in their trailers. Only what a
// balancer asks for is kept; the rest is read over, so that what is broken is told from what is merely unknown. A value may be
// long, deep or broken: each bound has its word, and nothing is allocated.
package orca
