// Package admission is the guard in front of a cluster that lets in as many requests at a time as the cluster works on, and has the
// others wait in an order that is fair to tenants, or tells them at once that they come too late (policy/admission).
//
// What is known of a cluster is a Door. It is remembered under the filter's name, so that a changed configuration finds it as it
// was: who is inside, who waits, and the limit. On each loop a door has a gate, which only that loop touches, and which
// publishes a few numbers; ten times a second the door's limit looks at them and tells each gate its share.
package admission
