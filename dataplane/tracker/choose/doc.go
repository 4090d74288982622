// Package choose opens the best tracker that each disk of a machine can have, and says why it is no better.
package choose
