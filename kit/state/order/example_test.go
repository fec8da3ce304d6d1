package order_test

import (
	"fmt"

	"github.com/yumen-io/yumen/kit/state/order"
)

func Example() {
	o := order.Machine().NewCell()
	for _, e := range []order.Event{order.Pay, order.Cancel, order.Refund, order.RefundSettle} {
		if _, err := o.Fire(e); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(o.Load())
	// Output:
	// state: order: cancel is not allowed in PAID (version 1)
	// REFUNDED 3
}
