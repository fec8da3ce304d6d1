module github.com/yumen-io/yumen/bench/breakers

go 1.26.0

require (
	github.com/failsafe-go/failsafe-go v0.9.8
	github.com/sony/gobreaker/v2 v2.4.0
	github.com/yumen-io/yumen v0.0.0
)

require github.com/bits-and-blooms/bitset v1.24.4 // indirect

replace github.com/yumen-io/yumen => ../..
