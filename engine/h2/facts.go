package h2

// Settled tells whether the client's SETTINGS have come: it speaks HTTP/2, and a request may take its time.
func (c *Server) Settled() bool { return c.settled }
