// Package activities is the contract between the workflows, which decide, and the activities, which act: every [Step] by
// name, with its input, its output, its limits of time and the sentence that the Temporal UI shows for it. The folders
// below implement the steps: activities/recovery and activities/nodes for our own nodes and the vault, activities/machine
// for asking a machine's entity workflow, activities/azure for the cloud.
//
// Three rules hold for every step. It is idempotent: it may run twice, even at the same time, because an attempt that
// timed out may still be alive. It derives every name from its [Run], so that a later attempt finds what an earlier one
// made. And its errors are faults: [Step.Serve] sends a *fault.Fault across Temporal and [Step.Do] makes one of what
// arrives; nobody else translates, because Go errors do not survive the hop. A fault of kind Transient is tried again;
// every other kind ends the step at once. An error that is no fault counts as transient.
//
// Recovery points and positions pass through here only by value; the vault is where they live.
package activities
