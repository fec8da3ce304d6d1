// Command yumen is the gateway, and the tool to check, explain and run it. `yumen --help` lists what it can do.
//
// Exit codes: 0 is success; 1 means that what was asked for could not be done or is not so (a document with errors, a
// gateway that does not answer or refuses); 2 means that the command line was wrong.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(newProgram(os.Stdin, os.Stdout, os.Stderr, os.LookupEnv).main(context.Background(), os.Args[1:]))
}
