#!/usr/bin/env bash
# Make the README's pictures of a denoising with the newest checkpoint of a settings file:
#
#     docs/pictures.sh [CONFIG]
#
# docs/denoising.gif  as perigee generate writes it
# docs/page.png       the page that it writes, opened in Chromium at the step of "#step=24"
set -euo pipefail
cd "$(dirname "$0")/.."
config=${1:-configs/perigee_sample.toml}
perigee=${PERIGEE:-.venv/bin/perigee}
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

"$perigee" generate --config "$config" --steps 64 --length 64 --batch 2 --temperature 0.7 --seed 7 \
  --gif docs/denoising.gif --html "$folder/page.html" "If the file does not exist,"
"$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$folder/profile" \
  --window-size=1000,470 --screenshot=docs/page.png "file://$folder/page.html#step=24" 2>/dev/null
ls -l docs/denoising.gif docs/page.png
