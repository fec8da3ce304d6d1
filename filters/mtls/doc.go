// Package mtls is the guard that knows clients by the certificates they show on their TLS connections.
//
// The listener verifies certificates (client_certificates, in the handshake); this filter says on which routes one is needed, and
// whose. What a proxy in front says of certificates in a header field is not looked at: who ends TLS has to know who came.
//
// Names out of a certificate become claims only if they are visible ASCII: what an authority let somebody write into a certificate
// must not end a header field or a key, nor look like a shorter name to somebody who stops at a NUL.
package mtls
