# What amazon18_data_process.sh and amazon23_data_process.sh share; they source it and call
#   amazon_data_process SOURCE [--flag value | --flag=value]...      a later flag wins over an earlier one
# The data artifact goes to outputs/<dataset>_<source>/data of the project (--run.dir moves it), the .inter files to --output_path.
amazon_data_process() {
  local source=$1 root dataset=Industrial_and_Scientific i next
  shift
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  for ((i = 1; i <= $#; i++)); do
    case ${!i} in
      --dataset | --category | --data.dataset) next=$((i + 1)) && dataset=${!next:-$dataset} ;;
      --dataset=* | --category=* | --data.dataset=*) dataset=${!i#*=} ;;
    esac
  done
  exec "${PYTHON:-python}" "$root/data/prepare.py" --source "$source" --dataset "$dataset" --raw_dir "$root/raw" \
    --run.dir "$root/outputs/${dataset}_$source" "$@"
}
