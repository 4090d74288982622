// Package proxy is the HTTP proxy through which a node reaches the storage account, its sign-in and the configuration server,
// where a site lets nothing else out.
//
// A [Config] is the section `proxy` of a node's configuration file. Its [Config.Dialled] is what an http.Transport asks for each
// request; HTTPS goes through the proxy by CONNECT, so the proxy sees names and sizes and nothing else. The proxy is told a
// user and a password by basic authentication, if it wants them. [Dial] is for whoever needs the connection
// itself. Agents and process servers speak to each other directly.
package proxy
