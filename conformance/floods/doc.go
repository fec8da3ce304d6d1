// Package floods attacks a running gateway with what costs a server more than its sender: resets, CONTINUATION, empty
// frames, SETTINGS, PING, window games, header bombs, readers that do not read, handshakes that do not end. Beside each
// attack one honest client asks at a steady pace, and is what is judged: each of its requests is answered, the gateway's
// memory stays within bounds, and afterwards it serves as before.
//
// Attackers and upstreams are processes of their own. The attackers, and the upstream of what they ask for, run on what
// time the machine has left (SCHED_IDLE): in life they have machines to themselves, and here they must not be what the
// honest client waits for.
//
// By default an attack takes a second. With -seconds 10 the honest client's 99th percentile is held to three times what it
// is undisturbed, just before and just after; a second is too short and a busy machine too rough for that.
package floods
