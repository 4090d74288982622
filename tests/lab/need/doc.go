// Package need says what the lab cannot do without: root, programs from apt, the checkout it lives in. What is
// missing is a fault that names what to run, so that a test can skip with a reason and a demo can stop with one.
//
// It must not install anything: deploy/apt/install.sh does that.
package need
