// Package order is the life of an order as a machine of package state: the states that a shop's rows go through, ready to
// use, and a model of how to write a machine of one's own.
//
//	CREATED -> PAID -> SHIPPED -> COMPLETED
//	   |        |         |
//	   v        +----+----+
//	CANCELLED        v
//	             REFUNDING -> REFUNDED
//
// Money decides what an end is: an order that nobody paid is cancelled, one that was paid is refunded. REFUNDING lasts as
// long as the payment provider takes; a refund that fails is tried again in that state. COMPLETED means that the time
// for returns is over.
package order

import (
	"fmt"

	"github.com/yumen-io/yumen/kit/state"
)

// State is where an order is. The zero State is Created.
type State uint8

// The states of an order.
const (
	Created State = iota
	Paid
	Shipped
	Completed
	Cancelled
	Refunding
	Refunded
)

// String is the name as it stands in rows: CREATED.
func (s State) String() string {
	names := [...]string{"CREATED", "PAID", "SHIPPED", "COMPLETED", "CANCELLED", "REFUNDING", "REFUNDED"}
	if int(s) < len(names) {
		return names[s]
	}
	return ""
}

// Event is what happens to an order.
type Event uint8

// The events of an order.
const (
	Pay          Event = iota // the money is here
	Ship                      // the goods have left
	Complete                  // they have arrived, and no return is possible any more
	Cancel                    // before anything was paid
	Refund                    // after it: cannot be shipped, or came back
	RefundSettle              // the money has gone back
)

// String is the name as it stands in rows: pay.
func (e Event) String() string {
	names := [...]string{"pay", "ship", "complete", "cancel", "refund", "refund_settle"}
	if int(e) < len(names) {
		return names[e]
	}
	return ""
}

// Machine returns the table, checked. Make it once and keep it.
func Machine() *state.Machine[State, Event] {
	m, err := state.New(state.Config[State, Event]{
		Name:    "order",
		Initial: Created,
		Final:   []State{Completed, Cancelled, Refunded},
		Transitions: []state.Transition[State, Event]{
			{From: Created, Event: Pay, To: Paid},
			{From: Created, Event: Cancel, To: Cancelled},
			{From: Paid, Event: Ship, To: Shipped},
			{From: Paid, Event: Refund, To: Refunding},
			{From: Shipped, Event: Complete, To: Completed},
			{From: Shipped, Event: Refund, To: Refunding},
			{From: Refunding, Event: RefundSettle, To: Refunded},
		},
	})
	if err != nil {
		panic(fmt.Sprintf("the table above is wrong: %v", err)) // a test makes it
	}
	return m
}
