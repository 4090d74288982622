.PHONY: generate
generate: ## regenerate api/gen
	api/generate.sh
