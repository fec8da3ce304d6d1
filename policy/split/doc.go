// Package split divides keys among weighted variants: a canary and the version before it, blue and green, the groups of an
// experiment. The same key always gets the same variant, on every gateway and in every process, and a change of weights
// moves as few keys as it can: who is in at 5 % is in at 10 %.
//
// It decides by weighted rendezvous hashing. Each variant draws a number for the key, by a hash of the key, the salt and the
// variant's name, that is distributed as the time until an event that comes at the rate of the variant's weight; the first one
// wins. So a variant wins its share of the keys, and a variant whose weight grows beside the others' can only
// win keys, from each of them, while none of the others wins one from another. What decides about a variant is its name and its weight: neither their order
// nor who else is there.
//
// The simple design that lost is a line from 0 to 100 % cut into pieces, one after the other: with three variants and more a
// piece in the middle that grows pushes the next one along, so that people change sides who had nothing to do with it.
//
// That promise holds for weights of which the others keep their proportion to each other, which is what Set does. No rule that
// knows only the weights can do more: of four variants or more, two cannot trade with each other without
// a third being touched for some weights.
package split
