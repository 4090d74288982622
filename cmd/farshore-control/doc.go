// Command farshore-control is the configuration server: it begins a vault, serves nodes and operators, runs the workflows,
// and can be made again from the vault and its recovery key.
//
//	farshore-control init     --config FILE [--operator NAME] [--keys DIR]
//	farshore-control run      --config FILE
//	farshore-control operator --config FILE --name NAME
//	farshore-control audit    --config FILE
//	farshore-control keys     --config FILE new|rotate|wrap|check
//	farshore-control recover  --config FILE --from-vault --recovery-key FILE [--operator NAME]
//
// Output goes to stdout, talk and the log to stderr; -o json prints one JSON document. The exit status is that of the
// fault (docs/faults.md). SIGTERM ends run in order: polls are answered, steps handed back, files closed.
package main
