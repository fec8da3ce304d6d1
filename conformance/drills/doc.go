// Package drills breaks things on purpose around a real gateway process and counts what its clients notice.
//
// Each drill is one test: a real `yumen run`, real clients on raw sockets, real upstreams (processes of their own where
// they are to be killed or stopped, raw servers where they are to misbehave, nginx where it is installed), and one thing
// that goes wrong. The promise under test is nearly always the same sentence: no request fails that need not fail, none
// is carried out twice, none gets another's answer.
//
// It measures no speed. Bounds on time and memory are there to tell a spin or a leak from ordinary work, and are wide.
package drills
